-- comagic_campaigns mirrors the account's raw campaigns. One that vanished there stays: facts refer to it.
select distinct on (id)
       id as campaign_id,
       name,
       description,
       type as campaign_type,
       engine,
       status,
       costs,
       cost_ratio,
       cost_ratio_operator
  from {raw}.campaigns
 where account_id = :account_id
 order by id, loaded_at desc, customer_user_id desc
