package handover

// defaultLocal is empty: binding to no name makes the kernel choose an abstract
// one, which is gone with the socket (unix(7), "Autobind feature").
func defaultLocal() string { return "" }
