-- The time of the server that holds our keys; a client may ask any other of a Cluster.
return redis.call('TIME')
