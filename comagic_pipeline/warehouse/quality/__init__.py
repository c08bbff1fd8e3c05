"""What the warehouse itself tells about its rows: consistency, rows a day, gaps. No judgement, no API."""
