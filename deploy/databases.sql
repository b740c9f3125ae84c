-- Beside Optuna's, which PostgreSQL's image makes: MLflow's, and that of its users.
create database mlflow;
create database mlflow_auth;
