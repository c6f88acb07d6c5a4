"""The report of a measurement: one HTML page with its tables, charts and photographs, and the predictions behind it as CSV."""

from fgvc_zoo.report.report import PAGE, PREDICTIONS, check_report_folder, write_report

__all__ = ['PAGE', 'PREDICTIONS', 'check_report_folder', 'write_report']
