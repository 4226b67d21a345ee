"""What a network is, costs, sees and gets wrong."""
