"""Sockets: dialling, TLS, the WebSocket handshake, frames over a connection."""
