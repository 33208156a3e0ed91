"""`make fuzz`: bad input of every kind, against every dialect and both transports."""
