-- The PostgreSQL image creates Optuna's database (POSTGRES_DB). MLflow needs one for its runs and
-- one for its user accounts.
create database mlflow;
create database mlflow_auth;
