"""The server: OpenAI's audio API, and the page, over one model that all requests share.

settings     how a server is set up
app          the application: routes, life and death
guards       what is refused before a body is read; headers of every answer
protocol     HTTP/1.1 with a deadline for headers
errors_api   errors as OpenAI's clients know them
metrics      numbers for Prometheus
api/         one road, one file
ray          the same on many machines
wyoming      Home Assistant's voice assistants
backend/     the model behind them: batches of many clients, recordings decoded in child processes
page/        what a browser shows; static files
"""
