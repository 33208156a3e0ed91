"""The whole gateway, through the real Envoy and the providers' real SDKs. Only the provider is played."""
