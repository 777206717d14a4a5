package trial

import "github.com/kudos-ml/kudos/reward/evaluate"

// Trials are those of seen and of unseen prompts.
func (r *Result) Trials() []*evaluate.Trial { return r.trials }
