-- The source's own row in general_accounts.

insert into {star}.general_accounts (account_id, caption, service, enabled)
select :account_id, left(:caption, 128), 'CoMagic', true
 where not exists (select from {star}.general_accounts where account_id = :account_id);

-- The first and last day that raw holds calls of. Per customer user, min and max take one look at the key's index in
-- each month; asked for the account at once they would read every row of it.
update {star}.general_accounts as account
   set (caption, enabled, status, interval_start, interval_end)
     = (left(:caption, 128), true, 'успешно', loaded.first_day, loaded.last_day)
  from (
      with recursive customer_users (id) as (
          select min(customer_user_id) from {raw}.calls_report where account_id = :account_id
          union all
          select (
              select min(customer_user_id)
                from {raw}.calls_report
               where account_id = :account_id and customer_user_id > customer_users.id
          )
            from customer_users
           where customer_users.id is not null
      )
      select min(days.first_day) as first_day, max(days.last_day) as last_day
        from customer_users
       cross join lateral (
          select min(event_date) as first_day, max(event_date) as last_day
            from {raw}.calls_report
           where account_id = :account_id and customer_user_id = customer_users.id
       ) as days
  ) as loaded
 where account.account_id = :account_id
   and (account.caption, account.enabled, account.status, account.interval_start, account.interval_end)
       is distinct from (left(:caption, 128), true, 'успешно', loaded.first_day, loaded.last_day);
