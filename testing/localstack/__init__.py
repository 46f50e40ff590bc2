"""The stack on a real LocalStack: `make test-localstack`."""
