package report

import (
	"flag"
	"slices"
)

// resumeFlag is the flag of every program that says to go on with the run that is there.
const resumeFlag = "resume"

// Config is what the flags of a program determine of its run, for config.json: the program's name as
// "program", and each flag's value by its name, but for -resume. A flag whose Value is no flag.Getter
// has its String.
func Config(f *flag.FlagSet) map[string]any {
	config := map[string]any{"program": f.Name()}
	f.VisitAll(func(f *flag.Flag) {
		if f.Name == resumeFlag {
			return
		}
		config[f.Name] = f.Value.String()
		if v, ok := f.Value.(flag.Getter); ok {
			config[f.Name] = v.Get()
		}
	})
	return config
}

// Resume is the command that resumes the run that a program with these arguments has begun.
func Resume(program string, args []string) string {
	if !slices.Contains(args, "-"+resumeFlag) {
		args = append(slices.Clone(args), "-"+resumeFlag)
	}
	return Command(program, args...)
}
