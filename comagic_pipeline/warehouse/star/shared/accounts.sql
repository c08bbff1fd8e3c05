-- The source's own row in general_accounts. Its status is not the star's to say: accounts.py.

insert into {star}.general_accounts (account_id, caption, service, enabled)
select :account_id, left(:caption, 128), 'CoMagic', true
 where not exists (select from {star}.general_accounts where account_id = :account_id);

-- The first and last day that the ledger has of any report.
update {star}.general_accounts as account
   set (caption, enabled, interval_start, interval_end)
     = (left(:caption, 128), true, loaded.first_day, loaded.last_day)
  from (
      select min(day) as first_day, max(day) as last_day from {ops}.loaded_days where account_id = :account_id
  ) as loaded
 where account.account_id = :account_id
   and (account.caption, account.enabled, account.interval_start, account.interval_end)
       is distinct from (left(:caption, 128), true, loaded.first_day, loaded.last_day);
