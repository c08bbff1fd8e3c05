"""Raw tables: what the API gave, one table for each method, and the history of dictionaries."""
