"""What people see: pages, mails, messages."""
