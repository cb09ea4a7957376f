"""What questions that are not scored decide about the others: how many items to show, and when to trust them."""
