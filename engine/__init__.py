"""What happens over time: training, testing, predicting, and the files they leave."""
