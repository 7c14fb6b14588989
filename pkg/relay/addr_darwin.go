package relay

// setLen fills sun_len, which BSD has before the family.
func setLen(a *rawAddr) { a.sa.Len = uint8(a.len) }
