"""The stages that train: encoder, projection, shipped models; and which encoders there are."""
