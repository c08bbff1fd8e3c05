-- comagic_campaigns mirrors the account's raw campaigns. A campaign that vanished there stays: facts refer to it.

create temporary table account_campaigns on commit drop as
select distinct on (id)
       id as campaign_id,
       left(name, 256) as name,
       left(description, 256) as description,
       left(type, 16) as campaign_type,
       left(engine, 16) as engine,
       left(status, 16) as status,
       round(costs, 2) as costs,
       round(cost_ratio, 4) as cost_ratio,
       left(cost_ratio_operator, 16) as cost_ratio_operator
  from {raw}.campaigns
 where account_id = :account_id
 order by id, loaded_at desc, customer_user_id desc;

update {star}.comagic_campaigns as campaign
   set (name, description, campaign_type, engine, status, costs, cost_ratio, cost_ratio_operator)
     = (new.name, new.description, new.campaign_type, new.engine, new.status, new.costs, new.cost_ratio,
        new.cost_ratio_operator)
  from account_campaigns as new
 where campaign.account_id = :account_id
   and campaign.campaign_id = new.campaign_id
   and (campaign.name, campaign.description, campaign.campaign_type, campaign.engine, campaign.status,
        campaign.costs, campaign.cost_ratio, campaign.cost_ratio_operator)
       is distinct from
       (new.name, new.description, new.campaign_type, new.engine, new.status, new.costs, new.cost_ratio,
        new.cost_ratio_operator);

insert into {star}.comagic_campaigns (
    account_id, campaign_id, name, description, campaign_type, engine, status, costs, cost_ratio, cost_ratio_operator
)
select :account_id, campaign_id, name, description, campaign_type, engine, status, costs, cost_ratio,
       cost_ratio_operator
  from account_campaigns as new
 where not exists (
    select from {star}.comagic_campaigns as campaign
     where campaign.account_id = :account_id and campaign.campaign_id = new.campaign_id
);

-- A deleted campaign lives on in its calls: they know its id and name (the latest call's, where names differ).
-- 0 is "no campaign" and has no name.
insert into {star}.comagic_campaigns (account_id, campaign_id, name)
select distinct on (campaign_id) :account_id, campaign_id, case when campaign_id <> 0 then campaign_name end
  from period_calls as new
 where not exists (
    select from {star}.comagic_campaigns as campaign
     where campaign.account_id = :account_id and campaign.campaign_id = new.campaign_id
)
 order by campaign_id, campaign_name is null, full_date desc, call_id desc;
