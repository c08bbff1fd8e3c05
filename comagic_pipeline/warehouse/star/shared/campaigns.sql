-- comagic_campaigns mirrors the account's raw campaigns. One that vanished there stays: facts refer to it.
select id as campaign_id,
       name,
       description,
       type as campaign_type,
       engine,
       status,
       costs,
       cost_ratio,
       cost_ratio_operator,
       customer_user_id
  from {raw}.campaigns
 where account_id = :account_id
