// Package command is what a program that tunes a UNet by Eq. 2 of Lee et al. 2023 need not have of
// its own: flags, the memory plan with what would make it fit, training that is saved whatever ends
// it. The program says where the data is from.
//
//	f := flag.NewFlagSet("mine", flag.ContinueOnError)
//	data := f.String("data", "", "where the pictures are")
//	tuning := command.New(f)
//	if err := tuning.Parse(os.Args[1:]); err != nil {
//		return err
//	}
//	release, err := tuning.Run.Begin()
//	if err != nil {
//		return err
//	}
//	defer release()
//
// Fit comes when the number of samples is known, with blank ones (pipeline.Pipeline.Blanks), before
// anything takes time. Train comes when they are encoded. examples/finetune is such a program.
//
// A Machine is the flags -device and -precision, for programs of any kind, and -plain.
package command
