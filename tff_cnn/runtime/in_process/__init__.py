"""TFF computations inside this process, on TensorFlow as pip installed it.

One round through it: `context` takes the call and looks up the `plan` of the
computation, which `interpreter` makes the first time; `arguments` takes the
arguments apart; `execution` runs the server's steps and the clients' in
parallel; `arguments` puts the result together. `graph_function` is how one of
TFF's TensorFlow graphs becomes callable.
"""
