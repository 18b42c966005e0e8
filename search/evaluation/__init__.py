"""What a network is worth: answers, figures of merit, calibration, robustness."""
