"""The latent explorer: what a page in the browser needs of a trained program, and the page."""
