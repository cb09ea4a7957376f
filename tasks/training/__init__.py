"""The stages that train (encoder, projection, shipped models), and the search for trained encoders."""
