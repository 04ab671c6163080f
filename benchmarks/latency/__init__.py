"""Published latencies of networks on boards, explained by multiply-accumulates of each kind."""
