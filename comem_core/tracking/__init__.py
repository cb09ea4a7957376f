"""The steps of a training, shown where a user watches other trainings: in TensorBoard, MLflow or Weights & Biases."""
