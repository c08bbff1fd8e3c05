-- Settings for the steps that follow, until the end of the transaction.

-- Compiling the many small expressions took 1.9 of the 3.2 s of facts.sql for 30 000 calls and saved nothing.
set local jit = off;

-- The rows of a period lie together and are mostly in memory: looking 30 000 of them up by an index is cheaper than
-- the default of 4, made for disks that seek, lets the planner believe. It would read whole tables instead.
set local random_page_cost = 1.1;

-- A month of calls (some 20 MB) is sorted and joined in memory.
set local work_mem = '64MB';
