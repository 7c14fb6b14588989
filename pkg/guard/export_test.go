package guard

// Len is how many addresses are known.
func (c *Claims) Len() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.by)
}
