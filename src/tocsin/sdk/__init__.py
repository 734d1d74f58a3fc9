"""What runs inside the user's app.  Imports msgspec and the standard library, nothing else."""
