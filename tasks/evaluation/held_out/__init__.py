"""What is learnt on questions that are not scored: how many items to show, and when to trust memory."""
