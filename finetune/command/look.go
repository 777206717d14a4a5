package command

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/kudos-ml/kudos/dataset"
	"github.com/kudos-ml/kudos/diffusion/pipeline"
	"github.com/kudos-ml/kudos/finetune/report"
)

// Look is dataset.Look at the pictures of samples in a folder. p shows how far it is if it takes
// more than two seconds, and says what CLIP, which reads squares, does not see of them.
func Look(
	ctx context.Context, p *report.Progress, samples []dataset.Sample, folder string,
) error {
	if err := look(ctx, p, samples, folder); err != nil {
		return err
	}
	sayCut(p, samples)
	return nil
}

// sayCut says what CLIP, which reads squares, does not see of samples' pictures.
func sayCut(p *report.Progress, samples []dataset.Sample) {
	if cut := dataset.Cut(samples, 1, 1); cut != "" {
		p.Printf("%s before CLIP reads them.", cut)
	}
}

func look(
	ctx context.Context, p *report.Progress, samples []dataset.Sample, folder string,
) error {
	stage := p.Late("pictures", len(samples))
	defer stage.End()
	return dataset.Look(ctx, samples, folder, stage.Add)
}

// Look looks at all that is to be encoded before anything is: pictures, Own's in the folder of
// -samples and Pretrain's in -pretrain, and prompts. One error names the bad pictures of both. m
// settles the sizes that they are encoded in (pipeline.Pipeline.Frame and, with Buckets, Bucket).
// p says what is cut away of pictures, and what is left out of prompts (WarnPrompts).
func (t *Tuning) Look(
	ctx context.Context, p *report.Progress, m *pipeline.Pipeline, d Data, own, pretrain string,
) error {
	var errs []error
	if err := look(ctx, p, d.Own, own); err != nil {
		errs = append(errs, fmt.Errorf("-samples: %w", err))
	}
	if err := look(ctx, p, d.Pretrain, pretrain); err != nil {
		errs = append(errs, fmt.Errorf("-pretrain: %w", err))
	}
	if len(errs) > 0 {
		return errors.Join(errs...)
	}
	m.WarnPrompts(p.Printf, slices.Concat(d.Own, d.Pretrain))
	framed := d.Pretrain
	if t.Buckets {
		framed = nil // what is cut away of them Bucket says
	}
	if err := m.Frame(p.Printf, d.Own, framed); err != nil {
		return err
	}
	if t.Buckets {
		m.Bucket(p.Printf, d.Pretrain, t.Tuner.PretrainBatch)
	}
	return nil
}
