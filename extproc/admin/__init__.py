"""The management paths of the gateway, served beside the model traffic by a process of their own."""
