"""TFF computations inside this process, on TensorFlow as pip installed it.

One round through it: `context` takes the call and looks up the `plan` of the
computation, which `interpreter` makes the first time; `arguments` takes the
arguments apart; `execution` runs the server's steps and, by `client_pass`, the
clients' in groups and in parallel, as `schedule` divides them; `arguments` puts
the result together. `graph_function` is how one of TFF's TensorFlow graphs
becomes callable, `fusion` joins those of one step into one function, and
`vectorize` makes of that a function for many clients.
"""
