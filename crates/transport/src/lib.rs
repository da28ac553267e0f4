//! Networks that carry bytes between hubs and clients: TCP with TLS 1.3, and a simulated one
