package cni

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
)

// Judge makes the checks of target with these IDs, or all when none are given,
// and returns what came of each. Its error says that the target cannot be judged
// at all; a plugin that fails is none.
func Judge(ctx context.Context, target Target, ids ...string) (r *Report, err error) {
	checks, err := selected(ids)
	if err != nil {
		return nil, err
	}
	s, err := newSession(ctx, target)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, s.close()) }()
	r = s.report()
	for i := range checks {
		r.Results = append(r.Results, s.perform(&checks[i]))
		if ctx.Err() != nil {
			break
		}
	}
	return r, ctx.Err()
}

func (s *session) report() *Report {
	return &Report{
		Spec: SpecVersion, Plugin: s.confs[0]["type"].(string), Version: s.version(), Supported: s.versions,
		Kind: s.target.Kind, Domain: s.target.Domain, Started: time.Now().UTC().Truncate(time.Second),
	}
}

// selected returns the checks with the IDs. An ID may end in "*": "E*".
func selected(ids []string) ([]Check, error) {
	all := Checks()
	if len(ids) == 0 {
		return all, nil
	}
	for _, id := range ids {
		if !slices.ContainsFunc(all, func(c Check) bool { return matchID(id, c.ID) }) {
			return nil, fmt.Errorf("check %q: want an ID such as E01, or a group such as E*", id)
		}
	}
	return slices.DeleteFunc(all, func(c Check) bool {
		return !slices.ContainsFunc(ids, func(id string) bool { return matchID(id, c.ID) })
	}), nil
}

func matchID(pattern, id string) bool {
	if group, ok := strings.CutSuffix(pattern, "*"); ok {
		return strings.HasPrefix(id, group)
	}
	return pattern == id
}
