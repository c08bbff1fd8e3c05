-- The employees who took part in the period's calls. What is no list of objects with an employee_id is skipped; one
-- who is listed twice picked up, or talked, when either entry says so. The call has one mark: that of who talked last.
select calls_id,
       employee_id,
       max(employee ->> 'employee_full_name') as name,
       bool_or(employee -> 'is_answered' = 'true') as is_answered,
       bool_or(employee -> 'is_talked' = 'true') as is_talked,
       max(rating) filter (where employee_id = rated_employee_id) as rating
  from period_rows
  join new_facts using (customer_user_id, call_id)
 cross join jsonb_array_elements(case jsonb_typeof(employees) when 'array' then employees end) as element (employee)
 cross join lateral (
    select case when employee ->> 'employee_id' ~ '^-?[0-9]{1,18}$' then (employee ->> 'employee_id')::bigint end
) as id (employee_id)
 where employee_id is not null
 group by calls_id, employee_id
