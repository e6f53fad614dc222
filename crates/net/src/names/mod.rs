//! Names on a network: who asks for one gets the addresses of the endpoints that carry it.
