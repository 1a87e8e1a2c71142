"""Mail, chat channels, and events on the bus."""
