-- The kind's own parameters are the columns of rows.sql that bear the names of the dimension's.
select * from period_rows
