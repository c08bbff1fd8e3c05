"""CoMagic (UIS) call tracking in your own SQL warehouse."""
