"""What the task "video" is made of."""
