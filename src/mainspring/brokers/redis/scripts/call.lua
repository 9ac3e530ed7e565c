-- Call idle workers. ARGV: the channel.
tell(ARGV[1])
