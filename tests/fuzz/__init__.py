"""`make fuzz`: bad input of every kind, against every dialect and our HTTP/2."""
