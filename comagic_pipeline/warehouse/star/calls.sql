-- comagic_calls: one row per call of the period. Calls that vanished are removed later, in vanished.sql.

update {star}.comagic_calls as call
   set (finish_reason, direction, call_source, is_lost, contact_phone_number, virtual_phone_number, visitor_id,
        visitor_session_id, visitor_device, channel, referrer)
     = (new.finish_reason, new.direction, new.call_source, new.is_lost, new.contact_phone_number,
        new.virtual_phone_number, new.visitor_id, new.visitor_session_id, new.visitor_device, new.channel, new.referrer)
  from period_calls as new
 where call.account_id = :account_id
   and call.call_id = new.call_id
   and (call.finish_reason, call.direction, call.call_source, call.is_lost, call.contact_phone_number,
        call.virtual_phone_number, call.visitor_id, call.visitor_session_id, call.visitor_device, call.channel,
        call.referrer)
       is distinct from
       (new.finish_reason, new.direction, new.call_source, new.is_lost, new.contact_phone_number,
        new.virtual_phone_number, new.visitor_id, new.visitor_session_id, new.visitor_device, new.channel, new.referrer);

insert into {star}.comagic_calls (
    account_id, call_id, finish_reason, direction, call_source, is_lost, contact_phone_number, virtual_phone_number,
    visitor_id, visitor_session_id, visitor_device, channel, referrer
)
select :account_id, call_id, finish_reason, direction, call_source, is_lost, contact_phone_number,
       virtual_phone_number, visitor_id, visitor_session_id, visitor_device, channel, referrer
  from period_calls as new
 where not exists (
    select from {star}.comagic_calls as call
     where call.account_id = :account_id and call.call_id = new.call_id
);
