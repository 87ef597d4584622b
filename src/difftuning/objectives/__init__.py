"""What is minimised: a batch in, the error of each sample out."""
