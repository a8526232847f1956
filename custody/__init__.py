"""Where private keys are kept: a file, the environment, or a token that never gives them out; what is signed is not known."""
