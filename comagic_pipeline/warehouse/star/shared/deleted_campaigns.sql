-- A deleted campaign lives on in the rows that it brought: they know its id and name (the latest row's, where names
-- differ). 0 is "no campaign" and has no name.
insert into {star}.comagic_campaigns (account_id, customer_user_id, campaign_id, name)
select distinct on (customer_user_id, campaign_id)
       :account_id,
       customer_user_id,
       campaign_id,
       case when campaign_id <> 0 then campaign_name end
  from period_rows as new
 where not exists (
    select from {star}.comagic_campaigns as campaign
     where campaign.account_id = :account_id
       and campaign.customer_user_id = new.customer_user_id
       and campaign.campaign_id = new.campaign_id
)
 order by customer_user_id, campaign_id, campaign_name is null, full_date desc, {key} desc;
